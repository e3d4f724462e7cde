// Cold-start users: users with few or no items.
//
// $most (number, default 5): maximum number of items
// $k (number, default 20): maximum number of rows

MATCH (u:<USER>)
OPTIONAL MATCH (u)-[:<BEHAVIOUR>]->(i:<ITEM>)
WITH u, count(DISTINCT i) AS items
WHERE items <= $most
RETURN u.<USER_KEY> AS user_id, items
ORDER BY items, user_id
LIMIT $k
