// A user's neighborhood: the user's items, with the number of other users and of nodes linked to each.
//
// $user (user): the user
// $k (number, default 20): maximum number of rows

MATCH (u:<USER>)-[:<BEHAVIOUR>]->(i:<ITEM>)
WHERE u.<USER_KEY> = $user
WITH DISTINCT i
MATCH (i)<-[:<BEHAVIOUR>]-(anyone:<USER>)
WITH i, count(DISTINCT anyone) - 1 AS other_users
OPTIONAL MATCH (i)-[:<ATTRIBUTE>]-(n)
RETURN i.<ITEM_KEY> AS item_id, i.<ITEM_NAME> AS name, other_users, count(DISTINCT n) AS nodes_around
ORDER BY other_users DESC, item_id
LIMIT $k
