// Recommended items with few or no users, which only the knowledge graph and the texts can score.
//
// $most (number, default 0): maximum number of users
// $k (number, default 20): maximum number of rows

MATCH (now:Published)
MATCH (u:<USER>)-[r:RECOMMENDED]->(i:<ITEM>)
WHERE r.release = now.release
WITH i, count(DISTINCT u) AS recommended_to
OPTIONAL MATCH (i)<-[:<BEHAVIOUR>]-(v:<USER>)
WITH i, recommended_to, count(DISTINCT v) AS users
WHERE users <= $most
RETURN i.<ITEM_KEY> AS item_id, i.<ITEM_NAME> AS name, users, recommended_to
ORDER BY recommended_to DESC, item_id
LIMIT $k
