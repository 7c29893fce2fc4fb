// The JVM side: which Spark, Scala and Delta feedloop runs on, and the jars that spark-submit needs beside the zip.
// Written to the plain Gradle API. check and test only call the door, which does the same alone.

val sparkVersion = "4.0.5" // pyspark in requirements/spark.txt
val scalaVersion = "2.13" // the only Scala that Spark 4 is built for
val deltaVersion = "4.0.1" // follows Spark 4.0; the same jars stand in requirements/jars.sha256

pluginManager.apply("lifecycle-base")

repositories.mavenCentral()

configurations.create("deltaJars") {
    // Spark brings its own Scala and its own modules.
    exclude(mapOf("group" to "org.apache.spark"))
    exclude(mapOf("group" to "org.scala-lang"))
}
dependencies.add("deltaJars", "io.delta:delta-spark_$scalaVersion:$deltaVersion")

tasks.register("collectJars", Sync::class.java) {
    group = "build"
    description = "Collects Delta's jars for Spark $sparkVersion into build/jars."
    from(configurations.getByName("deltaJars"))
    into(layout.buildDirectory.dir("jars"))
}

tasks.register("quality", Exec::class.java) {
    group = "verification"
    description = "Lint, format and types: ./feedloop check."
    commandLine("./feedloop", "check")
}

tasks.register("test", Exec::class.java) {
    group = "verification"
    description = "The tests: ./feedloop test."
    commandLine("./feedloop", "test")
}

tasks.named("check") {
    dependsOn("quality", "test")
}
