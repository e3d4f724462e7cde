// Paths that explain an item for a user: nodes shared with the user's items, the least common nodes first.
//
// $user (user): the user
// $item (item): the item
// $k (number, default 20): maximum number of rows

MATCH (u:<USER>)-[:<BEHAVIOUR>]->(mine:<ITEM>)
WHERE u.<USER_KEY> = $user AND mine.<ITEM_KEY> <> $item
WITH DISTINCT mine
MATCH (i:<ITEM>)-[b:<ATTRIBUTE>]-(n)-[a:<ATTRIBUTE>]-(mine)
WHERE i.<ITEM_KEY> = $item
WITH n, type(a) AS from_theirs, type(b) AS to_the_item,
     count(DISTINCT mine) AS items, collect(DISTINCT mine.<ITEM_NAME>) AS names
MATCH (n)-[:<ATTRIBUTE>]-(around:<ITEM>)
WITH n, from_theirs, to_the_item, items, names, count(DISTINCT around) AS items_around
RETURN from_theirs, n.<KEY> AS node_id, n.<NAME> AS node, to_the_item, items, items_around, names
ORDER BY items_around, items DESC, from_theirs, node_id, to_the_item
LIMIT $k
