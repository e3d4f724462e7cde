// Popular items of a user segment, with the segment's share of each item's users.
//
// <property> (user property): the property that defines the segment
// $value (value of property): value of the property in the segment
// $k (number, default 20): maximum number of rows

MATCH (u:<USER>)-[:<BEHAVIOUR>]->(i:<ITEM>)
WHERE u.<property> = $value
WITH i, count(DISTINCT u) AS users_in_segment
MATCH (i)<-[:<BEHAVIOUR>]-(anyone:<USER>)
WITH i, users_in_segment, count(DISTINCT anyone) AS users
RETURN i.<ITEM_KEY> AS item_id, i.<ITEM_NAME> AS name, users_in_segment, users,
       round(1.0 * users_in_segment / users, 3) AS share
ORDER BY users_in_segment DESC, item_id
LIMIT $k
