// Cold items: items with few or no users, and the number of knowledge-graph nodes that describe them.
//
// $most (number, default 5): maximum number of users
// $k (number, default 20): maximum number of rows

MATCH (i:<ITEM>)
OPTIONAL MATCH (i)<-[:<BEHAVIOUR>]-(u:<USER>)
WITH i, count(DISTINCT u) AS users
WHERE users <= $most
OPTIONAL MATCH (i)-[:<ATTRIBUTE>]-(n)
RETURN i.<ITEM_KEY> AS item_id, i.<ITEM_NAME> AS name, users, count(DISTINCT n) AS around
ORDER BY users, around, item_id
LIMIT $k
