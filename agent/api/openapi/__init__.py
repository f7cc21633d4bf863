"""What `/openapi.json` says of the API: assembled from the routes and from descriptions by hand."""
