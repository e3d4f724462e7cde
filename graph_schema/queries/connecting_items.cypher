// Items that connect two nodes, such as two genres or two actors, the most popular first.
//
// $one (node): key of the first node
// $other (node): key of the second node
// $k (number, default 20): maximum number of rows

MATCH (n:<NODE>)-[a:<ATTRIBUTE>]-(i:<ITEM>)-[b:<ATTRIBUTE>]-(m:<NODE>)
WHERE n.<KEY> = $one AND m.<KEY> = $other
WITH i, collect(DISTINCT type(a)) AS by_one, collect(DISTINCT type(b)) AS by_other
OPTIONAL MATCH (i)<-[:<BEHAVIOUR>]-(u:<USER>)
RETURN i.<ITEM_KEY> AS item_id, i.<ITEM_NAME> AS name, by_one, by_other, count(DISTINCT u) AS users
ORDER BY users DESC, item_id
LIMIT $k
