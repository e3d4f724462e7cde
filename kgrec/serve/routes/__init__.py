"""Routes of the service, by what they answer."""
