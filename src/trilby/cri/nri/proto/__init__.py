"""The messages of NRI and ttrpc, and the modules that protoc makes of them (`make proto`)."""
