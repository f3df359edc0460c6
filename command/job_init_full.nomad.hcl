# A job: what to run, how many, and what to do when something breaks.
# Run it with:  nomadlite job run example.nomad.hcl
job "example" {
  # service runs until it is stopped, batch until it succeeds. system and
  # sysbatch run once on every node.
  type = "service"

  # Which datacenters may run it. "*" is all.
  datacenters = ["*"]

  # How a changed job replaces what runs: one allocation at a time, each
  # healthy for 10 seconds before the next; back to the last good version when
  # that fails.
  update {
    max_parallel     = 1
    min_healthy_time = "10s"
    healthy_deadline = "3m"
    auto_revert      = true
  }

  # A group's tasks run together on one node.
  group "web" {
    count = 1

    # A free port of the node, given to the tasks as NOMAD_PORT_http.
    network {
      port "http" {}
    }

    # How often a task is started again on its node before it counts as failed.
    restart {
      attempts = 2
      interval = "30m"
      delay    = "15s"
      mode     = "fail"
    }

    # What the allocation may write, in MiB.
    ephemeral_disk {
      size = 150
    }

    task "server" {
      # raw_exec runs a program of the host without isolation.
      driver = "raw_exec"

      config {
        command = "/bin/sh"
        args    = ["-c", "while true; do echo \"port $NOMAD_PORT_http on $NODE\"; sleep 5; done"]
      }

      # ${...} is filled in on the node. `nomadlite node status -verbose -self`
      # lists what there is.
      env {
        NODE = "${node.unique.name}"
      }

      # What the task needs: MHz and MiB. The scheduler finds room for it.
      resources {
        cpu    = 50
        memory = 32
      }

      # Ten log files of 10 MB are kept by default.
      logs {
        max_files     = 3
        max_file_size = 5
      }
    }
  }
}
