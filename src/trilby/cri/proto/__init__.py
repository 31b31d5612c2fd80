"""The messages of the CRI: our .proto files, and what protoc made of them."""
