// Items with many users in both of two segments, such as the youngest and the oldest users.
//
// <property> (user property): the property that defines the segments
// $one (value of property): its value in the first segment
// $other (value of property): its value in the second segment
// $k (number, default 20): maximum number of rows

MATCH (u:<USER>)-[:<BEHAVIOUR>]->(i:<ITEM>)
WHERE u.<property> = $one
WITH i, count(DISTINCT u) AS users_of_one
MATCH (v:<USER>)-[:<BEHAVIOUR>]->(i)
WHERE v.<property> = $other
WITH i, users_of_one, count(DISTINCT v) AS users_of_other
RETURN i.<ITEM_KEY> AS item_id, i.<ITEM_NAME> AS name, users_of_one, users_of_other
ORDER BY CASE WHEN users_of_one < users_of_other THEN users_of_one ELSE users_of_other END DESC, item_id
LIMIT $k
