// Items that share the most nodes with an item, by the same relationship type on both sides.
//
// $item (item): the item
// $k (number, default 20): maximum number of rows

MATCH (i:<ITEM>)-[a:<ATTRIBUTE>]-(n)-[b:<ATTRIBUTE>]-(other:<ITEM>)
WHERE i.<ITEM_KEY> = $item AND other.<ITEM_KEY> <> $item AND type(a) = type(b)
RETURN other.<ITEM_KEY> AS item_id, other.<ITEM_NAME> AS name, count(DISTINCT n) AS shared_nodes,
       collect(DISTINCT n.<NAME>) AS nodes
ORDER BY shared_nodes DESC, item_id
LIMIT $k
