// An item's audience: the users it is recommended to, where it ranks highest.
//
// $item (item): the item
// $k (number, default 20): rows shown at most

MATCH (now:Published)
MATCH (u:<USER>)-[r:RECOMMENDED]->(i:<ITEM>)
WHERE i.<ITEM_KEY> = $item AND r.release = now.release
RETURN u.<USER_KEY> AS user_id, r.rank AS rank, r.score AS score
ORDER BY rank, score DESC, user_id
LIMIT $k
