// A user's taste: the nodes linked to the user's items, and how much more frequent each is there than overall.
//
// $user (user): the user
// $least (number, default 3): minimum number of the user's items linked to a node
// $k (number, default 20): maximum number of rows

MATCH (i:<ITEM>)
WITH count(i) AS all_items
MATCH (u:<USER>)-[:<BEHAVIOUR>]->(i:<ITEM>)
WHERE u.<USER_KEY> = $user
WITH all_items, count(DISTINCT i) AS items_of_user
MATCH (u:<USER>)-[:<BEHAVIOUR>]->(i:<ITEM>)-[a:<ATTRIBUTE>]-(n)
WHERE u.<USER_KEY> = $user
WITH all_items, items_of_user, type(a) AS relationship, n, count(DISTINCT i) AS items
WHERE items >= $least
MATCH (n)-[a:<ATTRIBUTE>]-(i:<ITEM>)
WHERE type(a) = relationship
WITH all_items, items_of_user, relationship, n, items, count(DISTINCT i) AS items_around
RETURN relationship, n.<KEY> AS node_id, n.<NAME> AS node, items,
       round(1.0 * items * all_items / (items_of_user * items_around), 2) AS times_as_frequent
ORDER BY times_as_frequent DESC, items DESC, relationship, node_id
LIMIT $k
