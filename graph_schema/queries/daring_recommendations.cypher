// Recommendations of items that at most a few users acted on: what only the graph and the texts can know.
//
// $most (number, default 0): users at most
// $k (number, default 20): rows shown at most

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
