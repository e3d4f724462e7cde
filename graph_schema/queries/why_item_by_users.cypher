// Why an item might suit a user: the users who acted on it and share most items with the user.
//
// $user (user): the user
// $item (item): the item
// $k (number, default 20): rows shown at most

MATCH (u:<USER>)-[:<BEHAVIOUR>]->(mine:<ITEM>)<-[:<BEHAVIOUR>]-(other:<USER>)-[:<BEHAVIOUR>]->(i:<ITEM>)
WHERE u.<USER_KEY> = $user AND i.<ITEM_KEY> = $item AND other.<USER_KEY> <> $user AND mine.<ITEM_KEY> <> $item
RETURN other.<USER_KEY> AS user_id, count(DISTINCT mine) AS shared_items
ORDER BY shared_items DESC, user_id
LIMIT $k
