// Users that explain an item for a user: users of the item with the most items in common with the user.
//
// $user (user): the user
// $item (item): the item
// $k (number, default 20): maximum number of rows

MATCH (u:<USER>)-[:<BEHAVIOUR>]->(mine:<ITEM>)<-[:<BEHAVIOUR>]-(other:<USER>)-[:<BEHAVIOUR>]->(i:<ITEM>)
WHERE u.<USER_KEY> = $user AND i.<ITEM_KEY> = $item AND other.<USER_KEY> <> $user AND mine.<ITEM_KEY> <> $item
RETURN other.<USER_KEY> AS user_id, count(DISTINCT mine) AS shared_items
ORDER BY shared_items DESC, user_id
LIMIT $k
