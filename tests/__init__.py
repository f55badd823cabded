"""The tests of halfsync: a package, so that its helpers are imported as tests.client from every folder."""
