// A user's published recommendations, with the share of each signal group in the score.
//
// $user (user): the user
// $k (number, default 20): maximum number of rows

MATCH (now:Published)
MATCH (u:<USER>)-[r:RECOMMENDED]->(i:<ITEM>)
WHERE u.<USER_KEY> = $user AND r.release = now.release
RETURN r.rank AS rank, i.<ITEM_KEY> AS item_id, i.<ITEM_NAME> AS name, r.score AS score,
       r.graph AS graph, r.cf AS cf, r.content AS content, r.run AS run
ORDER BY rank
LIMIT $k
