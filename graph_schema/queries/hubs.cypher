// Hub nodes: those around most items; a node around nearly all of them tells items apart no longer.
//
// $k (number, default 20): rows shown at most

MATCH (i:<ITEM>)-[a:<ATTRIBUTE>]-(n)
RETURN type(a) AS relationship, n.<KEY> AS node_id, n.<NAME> AS node, count(DISTINCT i) AS items
ORDER BY items DESC, relationship, node_id
LIMIT $k
