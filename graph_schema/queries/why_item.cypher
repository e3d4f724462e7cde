// Why an item might suit a user: nodes that join it to items the user acted on, those around fewest items first.
//
// $user (user): the user
// $item (item): the item
// $k (number, default 20): rows shown at most

MATCH (i:<ITEM>)-[b:<ATTRIBUTE>]-(n)-[a:<ATTRIBUTE>]-(mine:<ITEM>)<-[:<BEHAVIOUR>]-(u:<USER>)
WHERE i.<ITEM_KEY> = $item AND u.<USER_KEY> = $user AND mine.<ITEM_KEY> <> $item
WITH n, type(a) AS from_theirs, type(b) AS to_the_item,
     count(DISTINCT mine) AS items, collect(DISTINCT mine.<ITEM_NAME>) AS names
MATCH (n)-[:<ATTRIBUTE>]-(around:<ITEM>)
RETURN from_theirs, n.<KEY> AS node_id, n.<NAME> AS node, to_the_item, items, count(DISTINCT around) AS items_around, names
ORDER BY items_around, items DESC, from_theirs, node_id, to_the_item
LIMIT $k
