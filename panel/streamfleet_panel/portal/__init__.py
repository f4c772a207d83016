"""The pages for customers and resellers: ordinary server-rendered views, no script needed."""
