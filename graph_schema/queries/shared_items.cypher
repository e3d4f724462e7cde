// What two users share: the items both acted on, the least popular first, as they say most.
//
// $user (user): the first user
// $other (user): the second user
// $k (number, default 20): rows shown at most

MATCH (u:<USER>)-[:<BEHAVIOUR>]->(i:<ITEM>)<-[:<BEHAVIOUR>]-(other:<USER>)
WHERE u.<USER_KEY> = $user AND other.<USER_KEY> = $other
WITH DISTINCT i
MATCH (i)<-[:<BEHAVIOUR>]-(anyone:<USER>)
RETURN i.<ITEM_KEY> AS item_id, i.<ITEM_NAME> AS name, count(DISTINCT anyone) AS users
ORDER BY users, item_id
LIMIT $k
