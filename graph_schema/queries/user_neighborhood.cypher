// A user's neighborhood: the items they acted on, how many other users did, and how many nodes are around each.
//
// $user (user): the user
// $k (number, default 20): rows shown at most

MATCH (u:<USER>)-[:<BEHAVIOUR>]->(i:<ITEM>)
WHERE u.<USER_KEY> = $user
WITH DISTINCT i
MATCH (i)<-[:<BEHAVIOUR>]-(anyone:<USER>)
WITH i, count(DISTINCT anyone) - 1 AS other_users
OPTIONAL MATCH (i)-[:<ATTRIBUTE>]-(n)
RETURN i.<ITEM_KEY> AS item_id, i.<ITEM_NAME> AS name, other_users, count(DISTINCT n) AS nodes_around
ORDER BY other_users DESC, item_id
LIMIT $k
