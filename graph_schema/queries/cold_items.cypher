// Cold items: those that few users acted on, or none, and how many nodes around them could make up for it.
//
// $most (number, default 5): users at most
// $k (number, default 20): rows shown at most

MATCH (i:<ITEM>)
OPTIONAL MATCH (i)<-[:<BEHAVIOUR>]-(u:<USER>)
WITH i, count(DISTINCT u) AS users
WHERE users <= $most
OPTIONAL MATCH (i)-[:<ATTRIBUTE>]-(n)
RETURN i.<ITEM_KEY> AS item_id, i.<ITEM_NAME> AS name, users, count(DISTINCT n) AS around
ORDER BY users, around, item_id
LIMIT $k
