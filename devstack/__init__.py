"""What `make run` and the tests add on one machine: private servers, a stand-in external service, a supervisor."""
