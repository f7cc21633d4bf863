"""What several suites use: processes to test against, doubles, requests made by hand."""
