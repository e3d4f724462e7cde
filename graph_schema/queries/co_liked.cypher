// Items with the most similar users to an item's (cosine similarity of their sets of users).
//
// $item (item): the item
// $least (number, default 2): minimum number of common users
// $k (number, default 20): maximum number of rows

MATCH (i:<ITEM>)<-[:<BEHAVIOUR>]-(u:<USER>)
WHERE i.<ITEM_KEY> = $item
WITH count(DISTINCT u) AS users_of_item
MATCH (i:<ITEM>)<-[:<BEHAVIOUR>]-(u:<USER>)-[:<BEHAVIOUR>]->(other:<ITEM>)
WHERE i.<ITEM_KEY> = $item AND other.<ITEM_KEY> <> $item
WITH users_of_item, other, count(DISTINCT u) AS in_common
WHERE in_common >= $least
MATCH (other)<-[:<BEHAVIOUR>]-(u:<USER>)
WITH users_of_item, other, in_common, count(DISTINCT u) AS users
RETURN other.<ITEM_KEY> AS item_id, other.<ITEM_NAME> AS name, in_common, users,
       round(in_common / sqrt(1.0 * users_of_item * users), 4) AS likeness
ORDER BY likeness DESC, item_id
LIMIT $k
