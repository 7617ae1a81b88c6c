"""AWS Bedrock's Converse."""
