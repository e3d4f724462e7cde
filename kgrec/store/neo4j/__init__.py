"""Neo4j, a graph server."""
