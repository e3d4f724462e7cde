// Coverage of recommendations by item popularity; good coverage reaches beyond the most popular items.

MATCH (i:<ITEM>)
OPTIONAL MATCH (i)<-[:<BEHAVIOUR>]-(u:<USER>)
WITH i, count(DISTINCT u) AS users
WITH i, users, CASE WHEN users = 0 THEN '0' WHEN users < 10 THEN '1 to 9' WHEN users < 100 THEN '10 to 99'
                    WHEN users < 1000 THEN '100 to 999' ELSE '1000 and more' END AS users_of_item
MATCH (now:Published)
OPTIONAL MATCH (i)<-[r:RECOMMENDED {release: now.release}]-(:<USER>)
RETURN users_of_item, count(DISTINCT i) AS items,
       count(DISTINCT CASE WHEN r.rank > 0 THEN i.<ITEM_KEY> END) AS recommended_items, count(r) AS recommendations,
       min(users) AS least
ORDER BY least
