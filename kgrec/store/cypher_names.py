"""Names of the functions and procedures that a user's Cypher may call: they compute values or read the graph.

The functions of both engines are in one list, since an engine refuses a function that it does not have.
"""

from __future__ import annotations

from typing import Final


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTIONS: Final = _names(
    # aggregates, predicates, paths
    """
    all any avg collect count count_if count_star exists histogram isempty max min none percentilecont percentiledisc
    single stdev stdevp sum allshortestpaths shortestpath wshortest is_acyclic is_trail length nodes relationships rels
    """
    # nodes, relationships, values
    """
    char_length character_length coalesce constant_or_null cost element_at elementid end_node endnode greatest hash head
    id ifnull internal_id keys label labels last least nullif offset properties rowid size start_node startnode tail
    type typeof valuetype
    """
    # types
    """
    array blob bool boolean cast decimal double float int128 int16 int32 int64 int8 integer map serial string struct
    to_blob to_bool to_double to_float to_int128 to_int16 to_int32 to_int64 to_int8 to_serial to_string to_uint128
    to_uint16 to_uint32 to_uint64 to_uint8 to_uuid toboolean tobooleanlist tobooleanornull tofloat tofloatlist
    tofloatornull tointeger tointegerlist tointegerornull tostring tostringlist tostringornull uuid
    """
    # numbers
    """
    abs acos asin atan atan2 bitshift_left bitshift_right bitwise_and bitwise_or bitwise_xor cbrt ceil ceiling cos cosh
    cot coth degrees e even exp factorial floor gamma gen_random_uuid haversin isnan lgamma ln log log10 log2 negate pi
    pow radians rand random randomuuid round sign sin sinh sqrt tan tanh
    """
    # texts
    """
    btrim concat concat_ws contains decode encode ends_with initcap lcase left levenshtein list_to_string lower lpad
    ltrim md5 normalize octet_length prefix regexp_extract regexp_extract_all regexp_full_match regexp_matches
    regexp_replace regexp_split_to_array repeat replace reverse right rpad rtrim sha256 split split_part starts_with
    str_split string_split string_to_array substr substring suffix tolower toupper trim ucase upper
    """
    # lists, maps, vectors
    """
    array_append array_cat array_concat array_contains array_cosine_similarity array_cross_product array_distance
    array_dot_product array_extract array_has array_indexof array_inner_product array_position array_prepend
    array_push_back array_push_front array_slice array_squared_distance array_value cardinality list_any_value
    list_append list_cat list_concat list_contains list_creation list_distinct list_element list_extract list_filter
    list_has list_has_all list_has_any list_indexof list_max list_min list_position list_prepend list_product
    list_reduce list_reverse list_reverse_sort list_slice list_sort list_sum list_transform list_unique map_extract
    map_keys map_values range reduce struct_extract struct_pack union_extract union_tag union_value
    vector.similarity.cosine vector.similarity.euclidean
    """
    # times and places
    """
    century current_date current_timestamp date date.realtime date.statement date.transaction date.truncate date_part
    date_trunc datepart datetime datetime.fromepoch datetime.fromepochmillis datetime.realtime datetime.statement
    datetime.transaction datetime.truncate datetrunc dayname duration duration.between duration.indays duration.inmonths
    duration.inseconds epoch_ms interval last_day localdatetime localdatetime.realtime localdatetime.statement
    localdatetime.transaction localdatetime.truncate localtime localtime.realtime localtime.statement
    localtime.transaction localtime.truncate make_date monthname point point.distance point.withinbbox time
    time.realtime time.statement time.transaction time.truncate time_bucket timestamp to_date to_days to_epoch_ms
    to_hours to_interval to_microseconds to_milliseconds to_minutes to_months to_seconds to_timestamp to_years
    """
)
"""Allowed functions, in lower case."""

PROCEDURES: Final[dict[str, frozenset[str]]] = {
    "ladybug": _names(
        """
        current_setting db_version show_connection show_functions show_indexes show_macros show_sequences show_tables
        stats_info storage_info storage_version table_info
        """
    ),
    "neo4j": _names(
        """
        db.index.fulltext.querynodes db.index.fulltext.queryrelationships db.index.vector.querynodes
        db.index.vector.queryrelationships db.labels db.propertykeys db.relationshiptypes db.schema.nodetypeproperties
        db.schema.reltypeproperties db.schema.visualization dbms.components
        """
    ),
}
"""Engine → allowed read-only procedures, in lower case."""

WRITING_PROCEDURES: Final = _names(
    "db.create.setnodevectorproperty db.create.setrelationshipvectorproperty db.createlabel db.createproperty "
    "db.createrelationshiptype"
)
"""Procedures that change the graph, allowed with `write`; in lower case."""
