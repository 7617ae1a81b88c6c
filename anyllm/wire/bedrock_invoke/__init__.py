"""AWS Bedrock's InvokeModel, which speaks to each model in its maker's own format."""
