package command

import "fmt"

// serviceDeleteVerb removes the registration of an instance.
func serviceDeleteVerb() *verb {
	return &verb{
		path: "service delete", args: "<service_name> <service_id>", min: 2, max: 2,
		short: "Remove the registration of an instance of a service",
		long: "Remove the registration of an instance, by its id as \"service info -verbose\" shows it. " +
			"The node registers it again when its allocation still offers it: this is for what was left behind.",
		run: func(c *cli, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if _, err := client.Services().Delete(c.ctx, args[0], args[1], nil); err != nil {
				return exitf(1, "Error deleting service registration: %v", err)
			}
			fmt.Fprintln(c.stdout, "Successfully deleted service registration")
			return nil
		},
	}
}
