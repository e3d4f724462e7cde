// What the graph holds: how many relationships of each type join which labels.

MATCH (a)-[r]->(b)
RETURN labels(a) AS source, type(r) AS relationship, labels(b) AS target, count(*) AS relationships
ORDER BY relationships DESC, relationship, source, target
