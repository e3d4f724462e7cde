// The users most similar to a user, by the Jaccard similarity of their sets of items.
//
// $user (user): the user
// $k (number, default 20): maximum number of rows

MATCH (u:<USER>)-[:<BEHAVIOUR>]->(i:<ITEM>)
WHERE u.<USER_KEY> = $user
WITH count(DISTINCT i) AS items_of_user
MATCH (u:<USER>)-[:<BEHAVIOUR>]->(i:<ITEM>)<-[:<BEHAVIOUR>]-(other:<USER>)
WHERE u.<USER_KEY> = $user AND other.<USER_KEY> <> $user
WITH items_of_user, other, count(DISTINCT i) AS shared_items
MATCH (other)-[:<BEHAVIOUR>]->(i:<ITEM>)
WITH items_of_user, other, shared_items, count(DISTINCT i) AS items
RETURN other.<USER_KEY> AS user_id, shared_items, items,
       round(1.0 * shared_items / (items_of_user + items - shared_items), 4) AS likeness
ORDER BY likeness DESC, user_id
LIMIT $k
