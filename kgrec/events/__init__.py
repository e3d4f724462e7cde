"""Events of users that a service received and the graph does not have yet."""
