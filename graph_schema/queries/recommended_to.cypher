// An item's audience: the users it is recommended to, best rank first.
//
// $item (item): the item
// $k (number, default 20): maximum number of rows

MATCH (now:Published)
MATCH (u:<USER>)-[r:RECOMMENDED]->(i:<ITEM>)
WHERE i.<ITEM_KEY> = $item AND r.release = now.release
RETURN u.<USER_KEY> AS user_id, r.rank AS rank, r.score AS score
ORDER BY rank, score DESC, user_id
LIMIT $k
