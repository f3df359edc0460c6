node_pool "big" {
  description = "Machines with much memory"

  meta {
    owner = "sysadmins"
  }

  scheduler_config {
    scheduler_algorithm = "spread"
  }
}
