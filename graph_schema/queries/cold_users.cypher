// Cold users: those who acted on few items, or none.
//
// $most (number, default 5): items at most
// $k (number, default 20): rows shown at most

MATCH (u:<USER>)
OPTIONAL MATCH (u)-[:<BEHAVIOUR>]->(i:<ITEM>)
WITH u, count(DISTINCT i) AS items
WHERE items <= $most
RETURN u.<USER_KEY> AS user_id, items
ORDER BY items, user_id
LIMIT $k
