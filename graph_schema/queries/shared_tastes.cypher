// Knowledge-graph nodes linked to items of both of two users, with the number of items of each.
//
// $user (user): the first user
// $other (user): the second user
// $k (number, default 20): maximum number of rows

MATCH (u:<USER>)-[:<BEHAVIOUR>]->(i:<ITEM>)-[a:<ATTRIBUTE>]-(n)
WHERE u.<USER_KEY> = $user
WITH n, type(a) AS relationship, count(DISTINCT i) AS items_of_user
MATCH (n)-[a:<ATTRIBUTE>]-(i:<ITEM>)<-[:<BEHAVIOUR>]-(other:<USER>)
WHERE other.<USER_KEY> = $other AND type(a) = relationship
WITH n, relationship, items_of_user, count(DISTINCT i) AS items_of_other
RETURN relationship, n.<KEY> AS node_id, n.<NAME> AS node, items_of_user, items_of_other
ORDER BY items_of_user * items_of_other DESC, relationship, node_id
LIMIT $k
