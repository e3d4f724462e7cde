// Where the graph and collaborative filtering disagree most about a recommendation.
//
// $k (number, default 20): maximum number of rows

MATCH (now:Published)
MATCH (u:<USER>)-[r:RECOMMENDED]->(i:<ITEM>)
WHERE r.release = now.release
RETURN u.<USER_KEY> AS user_id, i.<ITEM_KEY> AS item_id, i.<ITEM_NAME> AS name, r.rank AS rank,
       r.graph AS graph, r.cf AS cf, r.content AS content
ORDER BY abs(r.graph - r.cf) DESC, user_id, item_id
LIMIT $k
