"""HTTP service: answers from the published lists, scores live, takes events."""
