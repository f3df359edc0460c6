name        = "prod"
description = "What customers see"

meta {
  owner = "sysadmins"
}

capabilities {
  enabled_task_drivers   = ["docker", "exec"]
  disabled_network_modes = ["host"]
}

node_pool_config {
  default = "big"
  allowed = ["big", "default"]
}
