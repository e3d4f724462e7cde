// Overview of the graph: the number of relationships of each type between each pair of labels.

MATCH (a)-[r]->(b)
RETURN <LABEL a> AS source, type(r) AS relationship, <LABEL b> AS target, count(*) AS relationships
ORDER BY relationships DESC, relationship, source, target
