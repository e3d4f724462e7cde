// What the graph holds: how many relationships of each type join which labels.

MATCH (a)-[r]->(b)
RETURN <LABEL a> AS source, type(r) AS relationship, <LABEL b> AS target, count(*) AS relationships
ORDER BY relationships DESC, relationship, source, target
