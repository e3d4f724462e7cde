// Items that two users have in common, the least popular first because they are the most informative.
//
// $user (user): the first user
// $other (user): the second user
// $k (number, default 20): maximum number of rows

MATCH (u:<USER>)-[:<BEHAVIOUR>]->(i:<ITEM>)<-[:<BEHAVIOUR>]-(other:<USER>)
WHERE u.<USER_KEY> = $user AND other.<USER_KEY> = $other
WITH DISTINCT i
MATCH (i)<-[:<BEHAVIOUR>]-(anyone:<USER>)
RETURN i.<ITEM_KEY> AS item_id, i.<ITEM_NAME> AS name, count(DISTINCT anyone) AS users
ORDER BY users, item_id
LIMIT $k
