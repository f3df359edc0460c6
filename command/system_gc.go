package command

// systemGCVerb collects what is finished at once.
func systemGCVerb() *verb {
	return &verb{
		path: "system gc", max: 0,
		short: "Remove what is finished, without waiting for its age",
		run: func(c *cli, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if err := client.SystemGC(c.ctx); err != nil {
				return exitf(1, "Error running system garbage-collection: %v", err)
			}
			return nil
		},
	}
}
