// Hub nodes: nodes linked to the most items; a node linked to nearly all items does not distinguish them.
//
// $k (number, default 20): maximum number of rows

MATCH (i:<ITEM>)-[a:<ATTRIBUTE>]-(n)
RETURN type(a) AS relationship, n.<KEY> AS node_id, n.<NAME> AS node, count(DISTINCT i) AS items
ORDER BY items DESC, relationship, node_id
LIMIT $k
