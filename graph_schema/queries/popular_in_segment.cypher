// What is popular within a segment of users, and what share of the item's users the segment makes up.
//
// <property> (user property): the property that makes the segment
// $value (value of property): its value in the segment
// $k (number, default 20): rows shown at most

MATCH (u:<USER>)-[:<BEHAVIOUR>]->(i:<ITEM>)
WHERE u.<property> = $value
WITH i, count(DISTINCT u) AS users_in_segment
MATCH (i)<-[:<BEHAVIOUR>]-(anyone:<USER>)
WITH i, users_in_segment, count(DISTINCT anyone) AS users
RETURN i.<ITEM_KEY> AS item_id, i.<ITEM_NAME> AS name, users_in_segment, users,
       round(1.0 * users_in_segment / users, 3) AS share
ORDER BY users_in_segment DESC, item_id
LIMIT $k
